-- Comes before other scripts, for which it defines two functions.
-- Lets no event end a run any more; and no deadline either.
local function ignore_events(run, id)
  for key in (redis.call('HGET', run, 'watch') or ''):gmatch('[^\n]+') do
    redis.call('ZREM', key, id)
  end
  redis.call('HDEL', run, 'watch')
end
local function unwatch(run, id, deadlines)
  redis.call('ZREM', deadlines, id) -- a full Redis refuses a script whose first write needs memory
  ignore_events(run, id)
  redis.call('HDEL', run, 'late')
end
