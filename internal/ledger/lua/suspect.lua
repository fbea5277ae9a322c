-- Suspect notes that this shard may have lost data, or has. Every version and
-- sequence that is given out from now on is larger than any that was lost.
-- ARGV: now, id of this loss, state ("suspect", "replay"), flip (ms; "" = as it is),
-- force ("1": even without a route).
--   suspect  Redis came back: every session says whether it misses anything
--   replay   something is missing: every session tells what it did of late
--   lost     all have: what is known now is all there will be, until healed
-- Returns 1, or 0 when there is no route, so nothing to lose.
if not EPOCH and ARGV[5] ~= '1' then return 0 end
local state = ARGV[3]
if LOSS == 'replay' and state == 'replay' and ARGV[5] ~= '1' then return 1 end -- found by another session too
if LOSS == 'replay' or LOSS == 'lost' then state = 'replay' end
local known = redis.call('GET', P .. 'seq') or '0'
local seq = math.max(tonumber(known) + 1, NOW * 32)
redis.call('SET', P .. 'seq', seq)
redis.call('HSET', P .. 'loss', 'id', ARGV[2], 'state', state, 'at', NOW, 'base', seq)
redis.call('HSETNX', P .. 'loss', 'first', seq)
redis.call('HSETNX', P .. 'loss', 'began', NOW)
-- Nothing has been done here since Redis came back: what it was told up to there it has kept, see replay.lua.
if LOSS == '' and state == 'suspect' then redis.call('HSET', P .. 'loss', 'upto', known) end
redis.call('HDEL', P .. 'loss', 'forget', 'copied')
if ARGV[5] == '1' then redis.call('HSET', P .. 'loss', 'restored', '1') end
if ARGV[4] ~= '' then redis.call('HSET', P .. 'loss', 'flip', ARGV[4]) end
redis.call('DEL', P .. 'vouched', P .. 'replayed')
if LOSS ~= 'replay' then redis.call('DEL', P .. 'had') end
return 1
