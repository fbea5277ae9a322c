-- Lookup says which store holds the newest version.
-- ARGV: now, bucket, key. Returns {store, known, epoch, main, state, hold, sync, uploads, run,
-- loss ("": the answer holds; else the state of the loss because of which it may not), ms since the switch}.
local o = redis.call('HMGET', P .. 'o:' .. member(ARGV[2], ARGV[3]), 'n', 's', 't')
local r = {found = o[1] and true or false, n = o[1] or MAIN, s = tonumber(o[2] or 0), t = tonumber(o[3] or 0)}
local unsure, since = '', '0'
if not trusted(r) then
  unsure = LOSS
  since = tostring(math.max(0, NOW - tonumber(redis.call('HGET', P .. 'loss', 'flip') or 0)))
elseif LOSS ~= '' and route[3] ~= 'Switched' then
  r.n = MAIN
end
return {r.n, r.found and '1' or '0', EPOCH, MAIN, route[3], route[4], route[5], route[6], route[7], unsure, since}
