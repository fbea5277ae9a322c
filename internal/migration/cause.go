package migration

import (
	"context"
	"errors"
	"net"
	"strings"

	"github.com/crossfade-io/crossfade/internal/ledger"
)

// Cause says why something was not reached, without the port numbers that differ
// at each try: a condition that tells it must not flap.
func Cause(err error) string {
	var dns *net.DNSError
	var op *net.OpError
	var reply interface {
		error
		RedisError()
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	case errors.As(err, &dns):
		return "look up " + dns.Name + ": " + dns.Err
	case errors.As(err, &op):
		return op.Err.Error()
	case errors.As(err, &reply):
		return reply.Error()
	}
	return err.Error()
}

// ledgerProblem says why the ledger is of no use just now, and what that means.
func ledgerProblem(err error, state ledger.RouteState) string {
	why := strings.TrimSuffix(Cause(err), ".")
	means := "clients are served, and changes are copied once it does"
	if state == ledger.Preparing || state == ledger.Switched {
		means = "clients' requests wait for it, because a switch is half-way"
	}
	for _, refusal := range []string{"NOAUTH", "WRONGPASS", "NOPERM"} {
		if strings.HasPrefix(why, refusal) {
			return "Redis refuses the credentials (" + why + "): check the Secret of spec.redis.credentialsRef. Until it takes them, " + means + "."
		}
	}
	return "Redis does not answer (" + why + "): " + means + "."
}
