"""One module a page, each with `show()`. (Streamlit takes a folder named "pages" for something else.)"""
