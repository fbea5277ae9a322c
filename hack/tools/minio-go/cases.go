// Command minio-go is built by hack/tool.sh from minio-go's functional tests and this file.
package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// runCase runs one test, if it is wanted: CASES names those that are, with
// commas; empty: all. Tests log their own results; one that panics fails.
func runCase(name string, test func()) {
	if cases := os.Getenv("CASES"); cases != "" && !slices.Contains(strings.Split(cases, ","), name) {
		return
	}
	fmt.Println("RUN", name)
	defer func() {
		if e := recover(); e != nil {
			fmt.Printf("FAIL %s: %v\n", name, e)
		}
	}()
	test()
}
