package main

import (
	"context"
	"fmt"
	"time"
)

// phase is a state of a migration that a rig can be brought into and held in.
type phase struct {
	name string
	// onTarget says that clients' writes go to the target.
	onTarget bool
	// state is what the route must be in, from reach until the end.
	phase, main, state string
	// slow makes copying take longer than any suite.
	slow bool
	// held leaves a multipart upload unfinished on the source, which keeps a
	// switch from ending, and makes objects newest on the old store all the time.
	held  bool
	reach func(ctx context.Context, g *rig) error
}

func allPhases(short bool) []phase {
	copying := phase{name: "Copying", phase: "Copying", main: "Source", state: "Steady", slow: true}
	switching := phase{name: "SwitchStarted", phase: "SwitchStarted", main: "Target", state: "Switched", onTarget: true, held: true,
		reach: func(ctx context.Context, g *rig) error { return g.switchTo(ctx, "Target") }}
	if short {
		return []phase{copying, switching}
	}
	return []phase{
		copying,
		{name: "CatchingUp", phase: "CatchingUp", main: "Source", state: "Steady"},
		switching,
		{name: "SwitchDone", phase: "SwitchDone", main: "Target", state: "Steady", onTarget: true,
			reach: func(ctx context.Context, g *rig) error { return g.switchTo(ctx, "Target") }},
		{name: "SwitchedBack", main: "Source", state: "Steady",
			reach: func(ctx context.Context, g *rig) error {
				if err := g.switchTo(ctx, "Target"); err != nil {
					return err
				}
				if err := g.await(ctx, phase{phase: "SwitchDone", main: "Target", state: "Steady"}); err != nil {
					return err
				}
				return g.switchTo(ctx, "Source")
			}},
	}
}

// is says whether a status is of this phase.
func (p phase) is(s *status) bool {
	return (p.phase == "" || s.Phase == p.phase) && s.Route.Main == p.main && s.Route.State == p.state
}

// await waits until the migration is in a phase.
func (g *rig) await(ctx context.Context, p phase) error {
	for deadline := time.Now().Add(3 * time.Minute); ; {
		s, err := g.status()
		if err == nil && p.is(s) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s was not reached: %v, %w", p.name, s, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-g.process.Done():
			return fmt.Errorf("crossfade ended: %s", g.process.Log)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// holds says whether the migration is still in its phase.
func (g *rig) holds() error {
	select {
	case <-g.process.Done():
		return fmt.Errorf("crossfade ended: %s", g.process.Log)
	default:
	}
	s, err := g.status()
	if err != nil {
		return err
	}
	if !g.phase.is(s) {
		return fmt.Errorf("the migration did not stay in %s: it is in %s, main %s, %s", g.phase.name, s.Phase, s.Route.Main, s.Route.State)
	}
	if g.dirtier != nil {
		return g.dirtier.err()
	}
	return nil
}
