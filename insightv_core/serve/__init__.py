"""The two agents behind an OpenAI-compatible endpoint, for every client and evaluator that speaks chat completions.

The reasoning agent's chain is `reasoning_content`, sent step by step as it is written; the summary agent's answer is
`content`. One thread owns the models: requests that wait for it together and want the same are answered in one batch,
the others in turn. A request whose client has gone is dropped: at once where nobody else shares its batch, else at the
end of the reply that is being written.

Of a conversation, the text of the last user message and the newest picture count; system messages are ignored, as each
agent has its own. `temperature`, `top_p` and `seed` are those of the chain, or of the base model; the summary agent
takes the likeliest tokens, as all do where no temperature is given. `max_tokens` limits the reply of the summary agent
or the base model, not the chain; `stop` cuts the answer. What cannot be done (`n` above 1, tools, log-probabilities, a
JSON schema) is refused; any other field is ignored.
"""
