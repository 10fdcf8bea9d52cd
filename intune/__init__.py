"""The client for Microsoft Graph and the Intune SCEP services: tokens, discovery, throttling."""
