package simulation

import (
	"context"
	"net/http"
)

// tooth breaks one rule of the protocol.
type tooth struct {
	name    string
	edits   map[string][2]string // script name to what is replaced by what
	scripts map[string]string    // sums of scripts to those of their broken versions
	request func(p *process, ctx context.Context, requests [][]any)
	answer  func(p *process, ctx context.Context, requests [][]any, answers []any)
	store   func(p *process, r *http.Request)
}

func (b *tooth) sharpen(*lab) *tooth { return b }
