# Prints the words of a Makefile by group: "##@ Title" opens a group, "word: … ## text" is a word.
BEGIN { FS = ":.*## "; print "Usage: make WORD [ARGS=\"options of the command behind it\"]" }
/^##@ / { printf "\n%s\n", substr($0, 5) }
/^[a-z][a-z0-9-]*:.*## / { printf "  %-16s %s\n", $1, $2 }
