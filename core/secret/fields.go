package secret

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
)

// loadable is a *Value[T] as Load sees it.
type loadable interface {
	// fits says whether the bytes are a T's.
	fits(plaintext []byte) error
	set(s *state) Rotatable
}

func (v *Value[T]) fits(plaintext []byte) error {
	_, err := view[T](plaintext)
	return err
}

func (v *Value[T]) set(s *state) Rotatable {
	*v = wrap[T](s)
	return *v
}

// field is a value that is to be filled.
type field struct {
	path  string
	tag   tag
	value loadable
	// held is what it is filled with; nil if there is nothing.
	held *state
}

func (f *field) name() string { return cmp.Or(f.tag.name, f.tag.defaultName()) }

// absent is a struct to which there is no pointer yet. It gets one if one of its fields
// is filled, those from from to to.
type absent struct {
	pointer, fresh reflect.Value
	from, to       int
}

// planner finds the fields of a struct, and everything that is wrong with them.
type planner struct {
	fields []field
	absent []absent
	errs   []error
}

func plan(into any) (*planner, error) {
	v := reflect.ValueOf(into)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return nil, fmt.Errorf("secret: load into a %T: it takes a pointer to a struct", into)
	}
	p := new(planner)
	p.walk(v.Elem(), "", "", nil)
	if len(p.fields) == 0 && len(p.errs) == 0 {
		return nil, fmt.Errorf("secret: load into a %T: it has no field with a %s tag", into, tagName)
	}
	p.checkNames()
	return p, errors.Join(p.errs...)
}

// commit sets everything that is filled.
func (p *planner) commit() []Rotatable {
	var values []Rotatable
	for i := range p.fields {
		if f := &p.fields[i]; f.held != nil {
			values = append(values, f.value.set(f.held))
		}
	}
	for _, a := range p.absent {
		if slices.ContainsFunc(p.fields[a.from:a.to], func(f field) bool { return f.held != nil }) {
			a.pointer.Set(a.fresh)
		}
	}
	return values
}

func (p *planner) wipe() {
	for i := range p.fields {
		if s := p.fields[i].held; s != nil {
			s.wipe()
		}
	}
}

func (p *planner) fail(path, format string, args ...any) {
	p.errs = append(p.errs, &FieldError{Field: path, Err: fmt.Errorf(format, args...)})
}

// walk goes through a struct. Types that it is inside of already are not entered again.
func (p *planner) walk(v reflect.Value, path, prefix string, within []reflect.Type) {
	t := v.Type()
	if slices.Contains(within, t) {
		return
	}
	within = append(slices.Clip(within), t)
	for i := range t.NumField() {
		p.field(v.Field(i), t.Field(i), joined(path, t.Field(i).Name), prefix, within)
	}
}

func joined(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func (p *planner) field(v reflect.Value, f reflect.StructField, path, prefix string, within []reflect.Type) {
	text, tagged := f.Tag.Lookup(tagName)
	var t tag
	if tagged {
		var err error
		if t, err = parseTag(text); err != nil {
			p.fail(path, "tag %s: %w", tagName, err)
			return
		}
	}
	if t.skip {
		return
	}
	if !f.IsExported() && !f.Anonymous {
		if tagged {
			p.fail(path, "it has a %s tag and is not exported", tagName)
		}
		return
	}
	switch {
	case isValue(f.Type) && f.IsExported():
		p.value(v.Addr().Interface().(loadable), t, path, prefix, tagged)
	case tagged && t.prefix == "":
		p.fail(path, "it has a %s tag and is a %s: only a secret.Value has one", tagName, f.Type)
	default:
		p.nested(v, path, prefix+t.prefix, tagged, within)
	}
}

// isValue reports whether a type is a Value of this package.
func isValue(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t.PkgPath() == reflect.TypeFor[Bytes]().PkgPath() && t.Implements(reflect.TypeFor[Rotatable]())
}

// concerns reports whether a struct has a Value or a tag somewhere. What has none is not
// entered: a setting may lead to half the types of a program.
func concerns(t reflect.Type, seen map[reflect.Type]bool) bool {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || seen[t] {
		return false
	}
	seen[t] = true
	for f := range t.Fields() {
		if _, tagged := f.Tag.Lookup(tagName); tagged || isValue(f.Type) || concerns(f.Type, seen) {
			return true
		}
	}
	return false
}

// value adds a value.
func (p *planner) value(v loadable, t tag, path, prefix string, tagged bool) {
	switch {
	case !tagged:
		p.fail(path, "it has no %s tag: say where it comes from, as in `%s:\"env=NAME\"`, or leave it to others by `%s:\"-\"`", tagName, tagName, tagName)
		return
	case t.env == "" && t.file == "":
		p.fail(path, "tag %s: it has no source: env=NAME or file=PATH", tagName)
		return
	case t.env != "":
		t.env = prefix + t.env
	}
	p.fields = append(p.fields, field{path: path, tag: t, value: v})
}

// nested goes into a struct, or one that a pointer leads to.
func (p *planner) nested(v reflect.Value, path, prefix string, tagged bool, within []reflect.Type) {
	t := v.Type()
	isPointer := t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Struct
	switch {
	case t.Kind() != reflect.Struct && !isPointer:
		if tagged {
			p.fail(path, "it has a prefix and is a %s: only a struct has one", t)
		}
	case !concerns(t, make(map[reflect.Type]bool)):
	case !isPointer:
		p.walk(v, path, prefix, within)
	case !v.IsNil():
		p.walk(v.Elem(), path, prefix, within)
	case v.CanSet():
		a := absent{pointer: v, fresh: reflect.New(t.Elem()), from: len(p.fields)}
		p.walk(a.fresh.Elem(), path, prefix, within)
		a.to = len(p.fields)
		p.absent = append(p.absent, a)
	default:
		p.fail(path, "it is embedded, nil and not exported: set it before")
	}
}

// checkNames: two values with one name could not be told apart in a report.
func (p *planner) checkNames() {
	seen := make(map[string]string)
	for i := range p.fields {
		f := &p.fields[i]
		if other, ok := seen[f.name()]; ok {
			p.fail(f.path, "it is called %q, and so is field %s: give one of them another name by name=…", f.name(), other)
		}
		seen[f.name()] = f.path
	}
}
