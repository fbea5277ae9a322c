-- Upload says on which store a multipart upload lives.
-- ARGV: now, field. Returns {store, sure}; sure "" = it may have been lost.
local s = redis.call('HGET', P .. 'u', ARGV[2])
return {s or route[6], (s or LOSS == '' or route[3] ~= 'Switched') and '1' or ''}
