-- Comes before other scripts, for which it defines a function.
-- Returns the memo of the first event that the run has not received: of those *given* between two
-- places as event, memo, event, memo ..., then of those that *came* since then. It is the memo
-- of the step from now on.
local function receive(run, step, came, since, given, first, last)
  local function take_in(event, memo)
    if redis.call('HSETNX', run, 'e:' .. event, '1') == 1 then
      redis.call('HSET', run, 'm:' .. step, memo)
      return memo
    end
  end
  for i = first, last, 2 do
    local memo = take_in(given[i], given[i + 1])
    if memo then
      return memo
    end
  end
  local offset, page = 0, nil
  repeat
    page = redis.call('ZRANGEBYSCORE', came, since, '+inf', 'LIMIT', offset, 100)
    for _, entry in ipairs(page) do
      local memo = take_in(entry:match('^([^\n]*)\n(.*)$'))
      if memo then
        return memo
      end
    end
    offset = offset + 100
  until #page == 0
end
