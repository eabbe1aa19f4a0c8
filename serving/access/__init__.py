"""Who may do what: API keys, tokens and client certificates, what they grant, and how much. Nothing here knows HTTP."""
