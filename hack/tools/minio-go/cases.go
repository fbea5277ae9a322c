// Command minio-go is built by hack/tool.sh from minio-go's functional tests and this file.
package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// runCase runs one test, if it is wanted: CASES names those that are, with
// commas; empty: all. Tests log their own results, some under other names or by
// part (testCors_1_…); one that panics fails.
func runCase(name string, test func()) {
	isWanted := func(c string) bool { return c == name || strings.HasPrefix(c, name+"_") }
	if cases := os.Getenv("CASES"); cases != "" && !slices.ContainsFunc(strings.Split(cases, ","), isWanted) {
		return
	}
	defer func() {
		if e := recover(); e != nil {
			fmt.Printf("FAIL %s: %v\n", name, e)
		}
	}()
	test()
}
