"""Calls from the gateway into the stages of the flow."""
