-- SettleDoubts settles the in-doubt intents that are due.
-- ARGV: now, max. Returns how many.
local due = redis.call('ZRANGEBYSCORE', P .. 'doubt', '-inf', NOW, 'LIMIT', 0, ARGV[2])
for _, m in ipairs(due) do
  local session, id = string.match(m, '^(%Z+)%z(.*)$')
  if not settle(session, id) then redis.call('ZREM', P .. 'doubt', m) end
end
return #due
