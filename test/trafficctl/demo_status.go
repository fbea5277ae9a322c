package main

import (
	"fmt"
	"strings"
	"time"
)

// status is what the demo needs of a Migration's status.
type status struct {
	Phase string `json:"phase"`
	Route struct {
		Epoch       int64
		Main, State string
	} `json:"route"`
	Conditions []struct {
		Type, Status, Reason, Message string
	} `json:"conditions"`
	Progress struct {
		Objects struct{ Listed, Copied, Skipped, Failed int64 } `json:"objects"`
		Bytes   struct{ Listed, Copied int64 }                  `json:"bytes"`
		Percent int64                                           `json:"percent"`
	} `json:"progress"`
	Lag struct {
		Objects int64 `json:"objects"`
	} `json:"lag"`
	Switch struct {
		PreparingAt, StartedAt, FinishedAt time.Time
	} `json:"switch"`
	Proxy struct {
		Address string `json:"address"`
		Ready   int64  `json:"ready"`
	} `json:"proxy"`
}

func (s *status) is(condition string) bool {
	for _, c := range s.Conditions {
		if c.Type == condition {
			return c.Status == "True"
		}
	}
	return false
}

// String tells the phase and every condition that does not hold.
func (s *status) String() string {
	out := []string{"phase " + s.Phase}
	for _, c := range s.Conditions {
		if c.Status != "True" {
			out = append(out, fmt.Sprintf("%s is %s: %s: %s", c.Type, c.Status, c.Reason, c.Message))
		}
	}
	return strings.Join(out, "; ")
}
