namespace ObjectStore.Storage.ErasureCoding;

/// <summary>Rows of coefficients made ready for one kernel. Immutable.</summary>
internal sealed class CoefficientRows(byte[] coefficients, int inputs, int outputs)
{
    public int Inputs => inputs;

    public int Outputs => outputs;

    public byte Coefficient(int output, int input) => coefficients[(output * inputs) + input];
}
