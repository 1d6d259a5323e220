-- Comes before other scripts, for which it defines a function.
-- Lets a key live so many seconds from now on, or longer where it does already.
local function keep(key, seconds)
  if redis.call('TTL', key) < tonumber(seconds) then
    redis.call('EXPIRE', key, seconds)
  end
end
