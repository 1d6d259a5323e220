-- Comes before other scripts, for which it defines a function.
-- Returns the memo of the first event that the run has not received, and makes it the step's: first
-- of *early*, which has event, memo, event, memo ... from one place to another, then of the *past*
-- events since a time.
local function receive(run, step, past, since, early, first, last)
  local function receive_one(event, memo)
    if redis.call('HSETNX', run, 'e:' .. event, '1') == 1 then
      redis.call('HSET', run, 'm:' .. step, memo)
      return memo
    end
  end
  for i = first, last, 2 do
    local memo = receive_one(early[i], early[i + 1])
    if memo then
      return memo
    end
  end
  local offset, page = 0, nil
  repeat
    page = redis.call('ZRANGEBYSCORE', past, since, '+inf', 'LIMIT', offset, 100)
    for _, entry in ipairs(page) do
      local memo = receive_one(entry:match('^([^\n]*)\n(.*)$'))
      if memo then
        return memo
      end
    end
    offset = offset + 100
  until #page == 0
end
