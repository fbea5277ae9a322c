// Package crd holds the generated CustomResourceDefinition, for programs that
// check manifests without an API server.
package crd

import _ "embed"

// Migrations is the CustomResourceDefinition of Migration, as YAML.
//
//go:embed bases/crossfade.io_migrations.yaml
var Migrations []byte
