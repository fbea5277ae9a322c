-- DirtyRange walks the visible records of a bucket in key order.
-- ARGV: now, listed store, bucket, min, max (lexical bounds), limit, "1" (also keys that are being written on
-- the other store) or "".
-- Returns {horizon, epoch, loss ("": none because of which keys may be missing; else its state),
-- keys newest on the other store ...}; horizon "" = range exhausted.
local keys = redis.call('ZRANGEBYLEX', P .. 'x:' .. ARGV[3], ARGV[4], ARGV[5], 'LIMIT', 0, ARGV[6])
local out = {'', EPOCH, route[3] == 'Switched' and LOSS or ''}
for _, k in ipairs(keys) do
  if k ~= '' then
    local r = redis.call('HMGET', P .. 'o:' .. member(ARGV[3], k), 'n', 'i' .. OTHER[ARGV[2]])
    if r[1] and (r[1] ~= ARGV[2] or ARGV[7] == '1' and tonumber(r[2] or 0) > 0) then out[#out + 1] = k end
  end
end
if #keys == tonumber(ARGV[6]) then out[1] = keys[#keys] end
return out
