namespace ObjectStore.Storage.ErasureCoding;

/// <summary>
/// The inner loop of the code: makes output buffers as linear combinations of input buffers over GF(2^8). Kernels hold no state and are safe to share;
/// all of them write the same bytes.
/// </summary>
internal abstract unsafe class CodingKernel
{
    /// <summary>The fastest kernel of this processor.</summary>
    public static CodingKernel Best { get; } = Supported()[0];

    public abstract string Name { get; }

    /// <summary>The kernels this processor can run, the fastest first; the scalar one is always the last.</summary>
    public static IReadOnlyList<CodingKernel> Supported() => [new ScalarKernel()];

    /// <summary>
    /// Sets the bytes [0, lengthBytes) of every output to the sum over the inputs of coefficient × input. Reads and writes nothing outside them; pointers need no
    /// alignment. No output may overlap an input or another output.
    /// </summary>
    /// <param name="rows">The coefficients, made ready by <see cref="Prepare"/> of the same kernel.</param>
    /// <param name="inputs">As many pointers as the rows have inputs.</param>
    /// <param name="outputs">As many pointers as there are rows.</param>
    /// <param name="lengthBytes">Of every buffer; 0 does nothing.</param>
    public abstract void Multiply(CoefficientRows rows, byte** inputs, byte** outputs, int lengthBytes);

    /// <summary>The coefficients of <paramref name="outputs"/> rows of <paramref name="inputs"/> each, in the form this kernel works with.</summary>
    public CoefficientRows Prepare(byte[] coefficients, int inputs, int outputs) => new(coefficients, inputs, outputs);
}
