package config

import (
	"slices"
	"strings"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"sigs.k8s.io/yaml"

	"github.com/crossfade-io/crossfade/config/crd"
)

// An API server refuses a definition whose rules it deems too costly.
func TestAnAPIServerWouldTakeTheDefinition(t *testing.T) {
	var v1 apiextensionsv1.CustomResourceDefinition
	if err := yaml.Unmarshal(crd.Migrations, &v1); err != nil {
		t.Fatal(err)
	}
	apiextensionsv1.SetDefaults_CustomResourceDefinition(&v1)
	apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&v1.Spec)
	var crd apiextensions.CustomResourceDefinition
	if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(&v1, &crd, nil); err != nil {
		t.Fatal(err)
	}
	crd.Status.StoredVersions = []string{crd.Spec.Versions[0].Name}
	for _, err := range validation.ValidateCustomResourceDefinition(t.Context(), &crd) {
		t.Error(err)
	}
}

// kubectl explain documents each field, and no string, list or map grows without end.
func TestEveryFieldIsDocumentedAndBounded(t *testing.T) {
	var v1 apiextensionsv1.CustomResourceDefinition
	if err := yaml.Unmarshal(crd.Migrations, &v1); err != nil {
		t.Fatal(err)
	}
	seen := 0
	var walk func(path string, p apiextensionsv1.JSONSchemaProps)
	walk = func(path string, p apiextensionsv1.JSONSchemaProps) {
		seen++
		if p.Description == "" {
			t.Errorf("%s has no description", path)
		}
		written := strings.HasPrefix(path, "spec.") // status is ours, durations in it too
		bounded := p.MaxLength != nil || len(p.Enum) > 0 || p.Format != "" || len(p.XValidations) > 0
		if p.Type == "string" && !bounded && (written || !slices.Contains([]string{"age", "eta", "duration"}, path[strings.LastIndex(path, ".")+1:])) {
			t.Errorf("%s is a string without bounds", path)
		}
		if p.Type == "array" && p.MaxItems == nil {
			t.Errorf("%s is a list without bounds", path)
		}
		if p.AdditionalProperties != nil && p.MaxProperties == nil {
			t.Errorf("%s is a map without bounds", path)
		}
		if p.Items != nil && p.Items.Schema.Type == "object" {
			p = *p.Items.Schema
		}
		for name, field := range p.Properties {
			if name != "resources" { // Kubernetes' own
				walk(path+"."+name, field)
			}
		}
	}
	root := v1.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties
	walk("spec", root["spec"])
	walk("status", root["status"])
	if seen < 150 {
		t.Errorf("%d fields seen", seen)
	}
}
