-- KEYS: the index of due times
-- Returns in how many seconds the first record is due, as text; nothing if there is none.
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return first[2] and string.format('%.17g', first[2] - now)
