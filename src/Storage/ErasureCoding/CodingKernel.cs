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
    public static IReadOnlyList<CodingKernel> Supported()
    {
        List<CodingKernel> kernels = [];
        if (Gfni512.IsSupported)
            kernels.Add(new VectorKernel<Gfni512, Gfni512.Block, Gfni512.Block>("GFNI-512"));
        if (Gfni256.IsSupported)
            kernels.Add(new VectorKernel<Gfni256, Gfni256.Block, Gfni256.Block>("GFNI-256"));
        if (Nibbles256.IsSupported)
            kernels.Add(new VectorKernel<Nibbles256, Nibbles256.Block, Nibbles256.Source>("AVX2"));
        if (Nibbles128.IsSupported)
            kernels.Add(new VectorKernel<Nibbles128, Nibbles128.Block, Nibbles128.Source>(Nibbles128.Name));
        kernels.Add(new ScalarKernel());
        return kernels;
    }

    /// <summary>The coefficients of <paramref name="outputs"/> rows of <paramref name="inputs"/> each, row after row, in the form this kernel works with.</summary>
    public abstract CoefficientRows Prepare(byte[] coefficients, int inputs, int outputs);

    /// <summary>
    /// Sets the bytes [0, lengthBytes) of every output to the sum over the inputs of coefficient × input. Reads and writes nothing outside them; pointers need no
    /// alignment. No output may overlap an input or another output.
    /// </summary>
    /// <param name="rows">The coefficients, made ready by <see cref="Prepare"/> of the same kernel.</param>
    /// <param name="inputs">As many pointers as the rows have inputs.</param>
    /// <param name="outputs">As many pointers as there are rows.</param>
    /// <param name="lengthBytes">Of every buffer; 0 does nothing.</param>
    public abstract void Multiply(CoefficientRows rows, byte** inputs, byte** outputs, int lengthBytes);
}
