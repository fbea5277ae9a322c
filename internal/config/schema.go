package config

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"

	"github.com/crossfade-io/crossfade/config/crd"
)

// rules are the defaults and checks of the CustomResourceDefinition, the same
// that an API server applies.
type rules struct {
	structural *schema.Structural
	schema     validation.SchemaValidator
	cel        *cel.Validator
}

var loadRules = sync.OnceValues(func() (*rules, error) {
	var v1 apiextensionsv1.CustomResourceDefinition
	if err := yaml.Unmarshal(crd.Migrations, &v1); err != nil {
		return nil, fmt.Errorf("read CustomResourceDefinition: %w", err)
	}
	var props apiextensions.JSONSchemaProps
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(
		v1.Spec.Versions[0].Schema.OpenAPIV3Schema, &props, nil); err != nil {
		return nil, fmt.Errorf("convert CustomResourceDefinition: %w", err)
	}
	structural, err := schema.NewStructural(&props)
	if err != nil {
		return nil, fmt.Errorf("read schema: %w", err)
	}
	s, _, err := validation.NewSchemaValidator(&props)
	if err != nil {
		return nil, fmt.Errorf("read schema: %w", err)
	}
	return &rules{structural: structural, schema: s, cel: cel.NewValidator(structural, true, celconfig.PerCallLimit)}, nil
})

// setDefaults fills in what a manifest leaves out.
func (r *rules) setDefaults(obj map[string]any) {
	defaulting.PruneNonNullableNullsWithoutDefaults(obj, r.structural)
	defaulting.Default(obj, r.structural)
}

// check says what is wrong with obj, in the words that kubectl would show. With
// an old object, the rules about changes count too.
func (r *rules) check(ctx context.Context, obj, old map[string]any) error {
	errs := validation.ValidateCustomResource(nil, obj, r.schema)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, r.structural, obj)...)
	if len(errs) == 0 {
		var before any
		if old != nil {
			before = old
		}
		found, _ := r.cel.Validate(ctx, field.NewPath(""), r.structural, obj, before, celconfig.RuntimeCELCostBudget)
		errs = append(errs, found...)
	}
	if len(errs) == 0 {
		return nil
	}
	lines := make([]string, len(errs))
	for i, e := range errs {
		lines[i] = strings.TrimLeft(e.Error(), "[].: ") // an empty path is shown as []
	}
	return fmt.Errorf("invalid Migration:\n  %s", strings.Join(lines, "\n  "))
}
