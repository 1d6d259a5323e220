-- Comes before other scripts, for which it defines a function that must be the last they call.
-- Writes what whoever reads results is to be told, for so many seconds or, with 0, for ever.
local function tell(database, seconds, key, value)
  redis.call('SELECT', database)
  redis.call('SET', key, value)
  if seconds ~= '0' then
    redis.call('EXPIRE', key, seconds)
  end
  redis.call('PUBLISH', key, value)
end
