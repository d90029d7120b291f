namespace ObjectStore.Storage.ErasureCoding;

/// <summary>A byte at a time, for processors without the vectors and for buffers shorter than one.</summary>
internal sealed unsafe class ScalarKernel : CodingKernel
{
    public override string Name => "scalar";

    public override void Multiply(CoefficientRows rows, byte** inputs, byte** outputs, int lengthBytes) => MultiplyBytes(rows, inputs, outputs, lengthBytes);

    public static void MultiplyBytes(CoefficientRows rows, byte** inputs, byte** outputs, int lengthBytes)
    {
        for (int output = 0; output < rows.Outputs; output++)
        {
            byte* destination = outputs[output];
            for (int i = 0; i < lengthBytes; i++)
            {
                byte sum = 0;
                for (int input = 0; input < rows.Inputs; input++)
                    sum ^= GaloisField.Multiply(rows.Coefficient(output, input), inputs[input][i]);
                destination[i] = sum;
            }
        }
    }
}
