"""A server that OpenAI's clients can talk to, and its page: the unpruned model beside its plans."""
