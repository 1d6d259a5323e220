-- ARGV: prefix, then run ids
-- Returns for each run {gate, its key, place in line, since when it is held back}; nothing if it is not.
prefix = ARGV[1]
local places = {}
for i = 2, #ARGV do
  local row = redis.call('HMGET', of_run(ARGV[i], 'run'), 'f:since', 'f:lane', 'f:bounce')
  local gate, rank = row[3], 0
  if row[2] then
    rank = redis.call('ZRANK', key_of('lane', row[2]), ARGV[i])
    gate = rank and redis.call('HGET', key_of('at', row[2]:match('^[^\n]*')), row[2])
    rank = (rank or 0) + 1
  end
  local _, name, key = (gate or ''):match('^(.-)\n(.-)\n(.*)$')
  table.insert(places, row[1] and name and {name, key, rank, row[1]} or false)
end
return places
