-- KEYS: the channel of the alarm
-- ARGV: prefix, then of each function: task, the number of limits that it has, their names
-- Forgets the others, and lets those go on who wait for them. Without any limit nobody can be held back.
-- Returns nothing.
prefix = ARGV[1]
local i = 2
while ARGV[i] do
  local task, count, kept = ARGV[i], tonumber(ARGV[i + 1]), {}
  for at = i + 2, i + 1 + count do
    kept[ARGV[at]] = true
  end
  for _, field in ipairs(redis.call('HKEYS', key_of('limits', task))) do
    local name = field:gsub('^!', '')
    name = name == '.paused' and 'pause' or name
    if name == 'pause' and count == 0 or not name:find('^[.]') and name ~= 'pause' and not kept[name] then
      redis.call('HDEL', key_of('limits', task), field)
      if redis.call('EXISTS', key_of('lines', task .. '\n' .. name)) == 1 then
        due_at(gate_id(task, '*' .. name, '0'), now) -- as of numbers that let more through
        redis.call('PUBLISH', KEYS[1], 0)
      end
    end
  end
  i = i + 2 + count
end
