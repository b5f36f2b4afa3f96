// SPDX-License-Identifier: Apache-2.0

package main

import "fmt"

// The messages of proto/grpc/testing, written out by hand: the library encodes any struct with these
// tags, so no generator is needed.

type boolValue struct {
	Value bool `protobuf:"varint,1,opt,name=value,proto3"`
}

type payload struct {
	Type int32  `protobuf:"varint,1,opt,name=type,proto3"`
	Body []byte `protobuf:"bytes,2,opt,name=body,proto3"`
}

type echoStatus struct {
	Code    int32  `protobuf:"varint,1,opt,name=code,proto3"`
	Message string `protobuf:"bytes,2,opt,name=message,proto3"`
}

type empty struct{}

type simpleRequest struct {
	ResponseSize       int32       `protobuf:"varint,2,opt,name=response_size,proto3"`
	Payload            *payload    `protobuf:"bytes,3,opt,name=payload,proto3"`
	ResponseCompressed *boolValue  `protobuf:"bytes,6,opt,name=response_compressed,proto3"`
	ResponseStatus     *echoStatus `protobuf:"bytes,7,opt,name=response_status,proto3"`
	ExpectCompressed   *boolValue  `protobuf:"bytes,8,opt,name=expect_compressed,proto3"`
}

type simpleResponse struct {
	Payload *payload `protobuf:"bytes,1,opt,name=payload,proto3"`
}

type inputRequest struct {
	Payload          *payload   `protobuf:"bytes,1,opt,name=payload,proto3"`
	ExpectCompressed *boolValue `protobuf:"bytes,2,opt,name=expect_compressed,proto3"`
}

type inputResponse struct {
	Size int32 `protobuf:"varint,1,opt,name=aggregated_payload_size,proto3"`
}

type responseParameters struct {
	Size       int32      `protobuf:"varint,1,opt,name=size,proto3"`
	IntervalUs int32      `protobuf:"varint,2,opt,name=interval_us,proto3"`
	Compressed *boolValue `protobuf:"bytes,3,opt,name=compressed,proto3"`
}

type outputRequest struct {
	Parameters     []*responseParameters `protobuf:"bytes,2,rep,name=response_parameters,proto3"`
	Payload        *payload              `protobuf:"bytes,3,opt,name=payload,proto3"`
	ResponseStatus *echoStatus           `protobuf:"bytes,7,opt,name=response_status,proto3"`
}

func (m *boolValue) Reset()          { *m = boolValue{} }
func (m *payload) Reset()            { *m = payload{} }
func (m *echoStatus) Reset()         { *m = echoStatus{} }
func (m *empty) Reset()              { *m = empty{} }
func (m *simpleRequest) Reset()      { *m = simpleRequest{} }
func (m *simpleResponse) Reset()     { *m = simpleResponse{} }
func (m *inputRequest) Reset()       { *m = inputRequest{} }
func (m *inputResponse) Reset()      { *m = inputResponse{} }
func (m *responseParameters) Reset() { *m = responseParameters{} }
func (m *outputRequest) Reset()      { *m = outputRequest{} }

func (m *boolValue) String() string          { return fmt.Sprint(m.Value) }
func (m *payload) String() string            { return fmt.Sprint(len(m.Body), " bytes") }
func (m *echoStatus) String() string         { return fmt.Sprint(m.Code, " ", m.Message) }
func (m *empty) String() string              { return "" }
func (m *simpleRequest) String() string      { return fmt.Sprint(m.ResponseSize) }
func (m *simpleResponse) String() string     { return fmt.Sprint(m.Payload) }
func (m *inputRequest) String() string       { return fmt.Sprint(m.Payload) }
func (m *inputResponse) String() string      { return fmt.Sprint(m.Size) }
func (m *responseParameters) String() string { return fmt.Sprint(m.Size) }
func (m *outputRequest) String() string      { return fmt.Sprint(m.Parameters) }

func (*boolValue) ProtoMessage()          {}
func (*payload) ProtoMessage()            {}
func (*echoStatus) ProtoMessage()         {}
func (*empty) ProtoMessage()              {}
func (*simpleRequest) ProtoMessage()      {}
func (*simpleResponse) ProtoMessage()     {}
func (*inputRequest) ProtoMessage()       {}
func (*inputResponse) ProtoMessage()      {}
func (*responseParameters) ProtoMessage() {}
func (*outputRequest) ProtoMessage()      {}
