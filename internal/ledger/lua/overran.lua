-- Overran says on which stores copies of a dead session may have landed on what clients wrote there when
-- its locks had run out. Call it once none can land any more, and before it is buried.
-- ARGV: now, session. Returns the stores, as "", "s", "t", "st" or "ts".
local out = ''
for _, id in ipairs(redis.call('SMEMBERS', P .. 'cl:' .. ARGV[2])) do
  local r = load(string.match(id, '^(%Z+)%z(.*)$'))
  local to = string.match(r.l, '^(%a):%d+u$')
  if r.c == ARGV[2] and to and (r.n == to or r['i' .. to] > 0) and not string.find(out, to) then out = out .. to end
end
return out
