-- Comes before other scripts, for which it defines a function.
-- Makes a key live at least so many seconds from now on.
local function keep(key, seconds)
  if redis.call('TTL', key) < tonumber(seconds) then
    redis.call('EXPIRE', key, seconds)
  end
end
