-- ARGV: prefix, seconds, then of each delivery: task, run, token, the number of its gates, and each as kind,
--       name, key, 1 if it cancels
-- Returns the places in this list, from 0, of deliveries that have lost something.
prefix = ARGV[1]
local lost, ends, i, count = {}, now + ARGV[2], 3, 0
local function renew(task, run, token, kind, name, key, cancels)
  local id = gate_id(task, name, key)
  if kind == 'singleton' then
    local is_mine = (redis.call('HGET', key_of('mark', id), 'run') or run) == run -- or the store has lost it
    if is_mine then
      redis.call('HSET', key_of('mark', id), 'run', run, 'until', exact(ends))
      keep(key_of('mark', id), math.ceil(ARGV[2]) + DAY)
    end
    return is_mine or cancels == '1'
  elseif kind ~= 'concurrency' then
    return true
  end
  local limit, until_then = numbers(task, name).limit, redis.call('ZSCORE', key_of('places', id), run .. '\n' .. token)
  local is_known = until_then or not limit -- without limits the store has lost what it knew
  if is_known and (tonumber(until_then or 0) > now or not limit or used(id, run, token) < limit) then
    take(task, name, key, run, token, ends, limit or math.huge)
    return true
  end
  leave(task, name, key, run, token)
end
while ARGV[i] do
  local task, run, token, gates = unpack(ARGV, i, i + 3)
  local has_all = true
  for at = i + 4, i + 3 + 4 * gates, 4 do
    has_all = renew(task, run, token, unpack(ARGV, at, at + 3)) and has_all
  end
  if not has_all then
    table.insert(lost, count)
  end
  i, count = i + 4 + 4 * gates, count + 1
end
return lost
