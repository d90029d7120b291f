using System.Buffers.Binary;
using System.Runtime.Intrinsics.X86;
using ArmCrc32 = System.Runtime.Intrinsics.Arm.Crc32;

namespace ObjectStore.S3.Checksums;

/// <summary>CRC-32 as in zlib and Ethernet (ISO-HDLC). Check value of "123456789": cbf43926. Thread-safe.</summary>
public static class Crc32
{
    internal static readonly FoldingCrc Engine = new(32, 0xEDB88320);

    /// <summary>The CRC of <paramref name="data"/>.</summary>
    public static uint Hash(ReadOnlySpan<byte> data) => Append(0, data);

    /// <summary>The CRC of what <paramref name="crc"/> covers, followed by <paramref name="data"/>. The CRC of nothing is 0.</summary>
    public static uint Append(uint crc, ReadOnlySpan<byte> data) => ~(uint)Engine.Update(~crc, data);

    /// <summary>The CRC of two pieces in a row, from the CRC of each.</summary>
    public static uint Combine(uint first, uint second, long secondLengthBytes) => (uint)Engine.Combine(first, second, secondLengthBytes);
}

/// <summary>CRC-32C (Castagnoli), as in iSCSI. Check value of "123456789": e3069283. Thread-safe.</summary>
public static class Crc32C
{
    internal static readonly FoldingCrc Engine = new(32, 0x82F63B78);

    /// <summary>The CRC of <paramref name="data"/>.</summary>
    public static uint Hash(ReadOnlySpan<byte> data) => Append(0, data);

    /// <summary>The CRC of what <paramref name="crc"/> covers, followed by <paramref name="data"/>. The CRC of nothing is 0.</summary>
    public static uint Append(uint crc, ReadOnlySpan<byte> data)
    {
        // Folding is the faster one where there is enough to fold; below that, and on Arm, the CRC instruction is.
        if (data.Length >= 512 && Pclmulqdq.IsSupported) return ~(uint)Engine.Update(~crc, data);
        if (Sse42.X64.IsSupported || ArmCrc32.Arm64.IsSupported) return ~UpdateByInstruction(~crc, data);
        return ~(uint)Engine.Update(~crc, data);
    }

    /// <summary>The CRC of two pieces in a row, from the CRC of each.</summary>
    public static uint Combine(uint first, uint second, long secondLengthBytes) => (uint)Engine.Combine(first, second, secondLengthBytes);

    internal static uint UpdateByInstruction(uint state, ReadOnlySpan<byte> data)
    {
        while (data.Length >= 8)
        {
            ulong word = BinaryPrimitives.ReadUInt64LittleEndian(data);
            state = Sse42.X64.IsSupported ? (uint)Sse42.X64.Crc32(state, word) : ArmCrc32.Arm64.ComputeCrc32C(state, word);
            data = data[8..];
        }

        foreach (byte value in data) state = Sse42.IsSupported ? Sse42.Crc32(state, value) : ArmCrc32.ComputeCrc32C(state, value);
        return state;
    }
}

/// <summary>CRC-64/NVME, S3's default. Check value of "123456789": ae8b14860a799888. Thread-safe.</summary>
public static class Crc64Nvme
{
    internal static readonly FoldingCrc Engine = new(64, 0x9A6C9329AC4BC9B5);

    /// <summary>The CRC of <paramref name="data"/>.</summary>
    public static ulong Hash(ReadOnlySpan<byte> data) => Append(0, data);

    /// <summary>The CRC of what <paramref name="crc"/> covers, followed by <paramref name="data"/>. The CRC of nothing is 0.</summary>
    public static ulong Append(ulong crc, ReadOnlySpan<byte> data) => ~Engine.Update(~crc, data);

    /// <summary>The CRC of two pieces in a row, from the CRC of each.</summary>
    public static ulong Combine(ulong first, ulong second, long secondLengthBytes) => Engine.Combine(first, second, secondLengthBytes);
}
