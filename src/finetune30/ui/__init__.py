"""The web page: Streamlit over the REST API, and nothing else of ours."""
