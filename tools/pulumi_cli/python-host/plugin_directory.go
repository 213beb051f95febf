// The part of this project in the language host; get.py compiles it with main.go of the pinned version.

package main

import (
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers of RunPluginRequest.info and ProgramInfo.program_directory, which newer engines send.
const (
	infoField             protowire.Number = 5
	programDirectoryField protowire.Number = 2
)

// pluginDirectory returns the directory of the plugin to run. Newer engines leave `program` empty and send it in a
// field that this version of the language host does not know.
func pluginDirectory(req *pulumirpc.RunPluginRequest) string {
	if req.Program != "" {
		return req.Program
	}
	return string(field(field(req.ProtoReflect().GetUnknown(), infoField), programDirectoryField))
}

// field returns the last value of a length-delimited field in an encoded message.
func field(message []byte, wanted protowire.Number) (found []byte) {
	for len(message) > 0 {
		number, kind, size := protowire.ConsumeTag(message)
		if size < 0 {
			return nil
		}
		message = message[size:]
		if number == wanted && kind == protowire.BytesType {
			found, _ = protowire.ConsumeBytes(message)
		}
		if size = protowire.ConsumeFieldValue(number, kind, message); size < 0 {
			return nil
		}
		message = message[size:]
	}
	return found
}
