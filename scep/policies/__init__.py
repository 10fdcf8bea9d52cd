"""Who may have a certificate at an endpoint, and under which names: the challenge policies, a module each (``scep.policy``)."""
