EXAMPLES = ()
def report() -> None:
    """x"""
