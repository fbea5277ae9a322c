-- Unplaced says whether a request is under way on a store that may create an upload of an object which
-- nobody places: one that began before the switch. ARGV: now, store, bucket, key. Returns 1 or 0.
local x, r = ARGV[2], load(ARGV[3], ARGV[4])
if r['i' .. x] == 0 then return 0 end
local since = tonumber(redis.call('HGET', P .. 'route', 'since') or math.huge)
for _, session in ipairs(redis.call('HKEYS', P .. 'wit')) do
  for _, raw in ipairs(redis.call('HVALS', P .. 'i:' .. session)) do
    local at, b, id = string.match(raw, '^(%a)|(%d+)|%d?|(.*)$')
    if at == x and id == r.id and tonumber(b) < since then return 1 end
  end
end
return 0
