-- Vouch says that what a session was told here last is still known, or (see the
-- prelude) finds that it is not. ARGV: now, session.
-- Returns {id of the loss that there is, its state ("" = none), "1" if the session has told again what it did,
-- what it must have been told to begin anything ("" = nothing): that answer may have been lost, see replayed.lua}.
local floor = redis.call('HGET', P .. 'floor', ARGV[2]) or ''
if LOSS == '' then return {'', '', '', floor} end
redis.call('HSET', P .. 'vouched', ARGV[2], loss[3])
return {loss[3], LOSS, redis.call('HGET', P .. 'replayed', ARGV[2]) == loss[3] and '1' or '', floor}
