#!/bin/sh
# Tests of the page look at it in a real Chromium. Installs Debian's where that is possible (root and apt-get), else
# says nothing: the tests then say that they were skipped, and why.      usage: sh scripts/install_browser.sh
set -eu

for name in chromium chromium-browser google-chrome; do
    if command -v "$name" >/dev/null 2>&1; then
        exit 0
    fi
done
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing Chromium for the tests of the page" >&2
    (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium fonts-noto-cjk) >/dev/null 2>&1 ||
        echo "Chromium could not be installed; the tests of the page will be skipped" >&2
fi
