using System.Runtime.InteropServices;

namespace ObjectStore.Storage.ErasureCoding;

/// <summary>A byte at a time, for processors without the vectors and for buffers shorter than a vector kernel's step.</summary>
internal sealed unsafe class ScalarKernel : CodingKernel
{
    public override string Name => "scalar";

    public override CoefficientRows Prepare(byte[] coefficients, int inputs, int outputs) => new(coefficients, inputs, outputs, 0, null);

    public override void Multiply(CoefficientRows rows, byte** inputs, byte** outputs, int lengthBytes) => MultiplyBytes(rows, inputs, outputs, lengthBytes);

    public static void MultiplyBytes(CoefficientRows rows, byte** inputs, byte** outputs, int lengthBytes)
    {
        for (int output = 0; output < rows.Outputs; output++)
        {
            byte* destination = outputs[output];
            NativeMemory.Clear(destination, (nuint)lengthBytes);
            for (int input = 0; input < rows.Inputs; input++)
            {
                ReadOnlySpan<byte> products = GaloisField.ProductsOf(rows.Coefficient(output, input));
                byte* source = inputs[input];
                for (int i = 0; i < lengthBytes; i++)
                    destination[i] ^= products[source[i]];
            }
        }
    }
}
