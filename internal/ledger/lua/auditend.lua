-- EndAudit ends an audit before its time, with a cause, or ("") forgets it.
-- ARGV: now, id, cause. Returns 1, or 0 when another audit is under way.
if redis.call('HGET', AUDIT, 'id') ~= ARGV[2] then return 0 end
undo()
if ARGV[3] == '' then
  redis.call('DEL', AUDIT, G .. 'anames')
elseif redis.call('HGET', AUDIT, 'result') == '' then
  redis.call('HSET', AUDIT, 'result', 'Failed', 'finished', NOW, 'problem', ARGV[3])
end
return 1
