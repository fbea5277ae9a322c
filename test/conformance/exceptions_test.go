package main

import "testing"

func TestExceptionsAreForTheirSuiteAndStores(t *testing.T) {
	all := exceptions{{"versitygw*", "IAM_*", "a"}, {"rgw/versitygw*", "*_region", "b"}}
	for _, tt := range []struct{ stores, suite, name, want string }{
		{"rgw", "versitygw", "IAM_x", "a"},
		{"versitygw", "versitygw-versions", "IAM_x", "a"},
		{"rgw", "versitygw-versions", "Wrong_region", "b"},
		{"versitygw", "versitygw-versions", "Wrong_region", ""},
		{"rgw", "boto3", "Wrong_region", ""},
		{"rgw", "versitygw", "IAM", ""},
	} {
		if x, ok := all.of(tt.stores, tt.suite, tt.name); x.reason != tt.want || ok != (tt.want != "") {
			t.Errorf("%+v: %+v", tt, x)
		}
	}
}
