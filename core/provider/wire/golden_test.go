package wire

import (
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	providerv1 "github.com/keyrotor/keyrotor/core/provider/wire/keyrotor/provider/v1"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestGoldenProtocol pins every call, field and number of keyrotor.provider.v1.
// Lines may be added to the golden file; one that changes breaks plugins that
// people have built.
func TestGoldenProtocol(t *testing.T) {
	var got strings.Builder
	file := providerv1.File_keyrotor_provider_v1_provider_proto
	for i := range file.Services().Len() {
		s := file.Services().Get(i)
		for j := range s.Methods().Len() {
			m := s.Methods().Get(j)
			fmt.Fprintf(&got, "rpc %s(%s) %s\n", m.FullName(), m.Input().Name(), m.Output().Name())
		}
	}
	for i := range file.Enums().Len() {
		values := file.Enums().Get(i).Values()
		for j := range values.Len() {
			fmt.Fprintf(&got, "enum %s = %d\n", values.Get(j).Name(), values.Get(j).Number())
		}
	}
	describeMessages(&got, file.Messages())
	golden(t, "provider-v1.txt", got.String())
}

func describeMessages(out *strings.Builder, messages protoreflect.MessageDescriptors) {
	for i := range messages.Len() {
		m := messages.Get(i)
		for j := range m.Fields().Len() {
			f := m.Fields().Get(j)
			typ := f.Kind().String()
			switch {
			case f.IsMap():
				typ = "map"
			case f.Message() != nil:
				typ = string(f.Message().FullName())
			case f.Enum() != nil:
				typ = string(f.Enum().FullName())
			}
			fmt.Fprintf(out, "%s %s %s = %d\n", m.FullName(), f.Cardinality(), f.Name()+" "+protoreflect.Name(typ), f.Number())
		}
		describeMessages(out, m.Messages())
	}
}

// TestGoldenMessages reads one message of each type that an earlier build wrote,
// and finds every field where it was.
func TestGoldenMessages(t *testing.T) {
	var got strings.Builder
	messages := providerv1.File_keyrotor_provider_v1_provider_proto.Messages()
	for i := range messages.Len() {
		d := messages.Get(i)
		mt, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
		if err != nil {
			t.Fatal(err)
		}
		m := mt.New()
		populate(m, 0)
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m.Interface())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&got, "%s %s\n", d.Name(), hex.EncodeToString(b))
		back := mt.New()
		if err := proto.Unmarshal(b, back.Interface()); err != nil || !proto.Equal(m.Interface(), back.Interface()) {
			t.Errorf("%s does not read back: %v", d.Name(), err)
		}
		if len(back.GetUnknown()) != 0 {
			t.Errorf("%s has unknown fields", d.Name())
		}
	}
	golden(t, "messages-v1.txt", got.String())
}

// populate gives every field a value that follows from its number.
func populate(m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		switch {
		case f.IsMap():
			value := m.NewField(f).Map()
			v := protoreflect.ValueOfString("v")
			if f.MapValue().Message() != nil {
				v = value.NewValue()
			}
			value.Set(protoreflect.ValueOfString("k").MapKey(), v)
			m.Set(f, protoreflect.ValueOfMap(value))
		case f.IsList():
			list := m.NewField(f).List()
			if f.Message() == nil {
				list.Append(scalar(f))
			} else if depth < 3 {
				element := list.NewElement()
				populate(element.Message(), depth+1)
				list.Append(element)
			}
			m.Set(f, protoreflect.ValueOfList(list))
		case f.Message() != nil:
			if depth < 3 {
				populate(m.Mutable(f).Message(), depth+1)
			}
		default:
			m.Set(f, scalar(f))
		}
	}
}

func scalar(f protoreflect.FieldDescriptor) protoreflect.Value {
	n := f.Number()
	switch f.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(fmt.Sprintf("s%d", n))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes(protowire.AppendVarint(nil, uint64(1000+n)))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(1)
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(uint32(n) + 100)
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(uint64(n) + 100)
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(int32(n) + 100)
	default:
		return protoreflect.ValueOfInt64(int64(n) + 100)
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s:\n%s\nthe golden file has\n%s", name, got, want)
	}
}
