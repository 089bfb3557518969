import com.google.protobuf.DescriptorProtos.DescriptorProto;
import com.google.protobuf.DescriptorProtos.FieldDescriptorProto;
import com.google.protobuf.DescriptorProtos.FieldDescriptorProto.Label;
import com.google.protobuf.DescriptorProtos.FieldDescriptorProto.Type;
import com.google.protobuf.DescriptorProtos.FileDescriptorProto;
import com.google.protobuf.Descriptors.DescriptorValidationException;
import com.google.protobuf.Descriptors.FileDescriptor;
import com.google.protobuf.DynamicMessage;
import io.dashgate.OutputType;

/** The message City of structured answers. */
final class City {
  private City() {}

  static OutputType<DynamicMessage> type() {
    DescriptorProto city =
        DescriptorProto.newBuilder()
            .setName("City")
            .addField(field("name", 1, Type.TYPE_STRING, Label.LABEL_OPTIONAL))
            .addField(field("people", 2, Type.TYPE_INT32, Label.LABEL_OPTIONAL))
            .addField(field("rivers", 3, Type.TYPE_STRING, Label.LABEL_REPEATED))
            .build();
    FileDescriptorProto file =
        FileDescriptorProto.newBuilder()
            .setName("city.proto")
            .setSyntax("proto3")
            .addMessageType(city)
            .build();
    try {
      FileDescriptor built = FileDescriptor.buildFrom(file, new FileDescriptor[0]);
      return OutputType.of(
          DynamicMessage.getDefaultInstance(built.findMessageTypeByName("City")));
    } catch (DescriptorValidationException e) {
      throw new IllegalStateException(e);
    }
  }

  private static FieldDescriptorProto field(String name, int number, Type type, Label label) {
    return FieldDescriptorProto.newBuilder()
        .setName(name)
        .setNumber(number)
        .setType(type)
        .setLabel(label)
        .build();
  }
}
