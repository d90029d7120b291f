using System.Runtime.InteropServices;

namespace ObjectStore.Storage.Tests.ErasureCoding;

/// <summary>4,096 random bytes with memory before and after them that cannot be touched: to do so ends the process. Linux only.</summary>
internal sealed unsafe partial class FencedMemory : IDisposable
{
    public const int LengthBytes = 4096;

    private const int FenceBytes = 64 * 1024;
    private const int TotalBytes = (2 * FenceBytes) + LengthBytes;
    private const int ProtectNone = 0;
    private const int ProtectReadWrite = 3;
    private const int MapPrivateAnonymous = 0x22;

    private readonly nint _mapping;

    public FencedMemory()
    {
        // Where pages are larger than 4 KiB the fence after the bytes begins later; the one before them is always at their start.
        _mapping = Map(0, TotalBytes, ProtectNone, MapPrivateAnonymous, -1, 0);
        if (_mapping == -1 || Protect(_mapping + FenceBytes, LengthBytes, ProtectReadWrite) != 0)
            throw new InvalidOperationException($"Memory cannot be mapped: error {Marshal.GetLastPInvokeError()}.");
        new Random(1).NextBytes(new Span<byte>(Address, LengthBytes));
    }

    public byte* Address => (byte*)_mapping + FenceBytes;

    public void Dispose() => _ = Unmap(_mapping, TotalBytes);

    [LibraryImport("libc", EntryPoint = "mmap", SetLastError = true)]
    private static partial nint Map(nint address, nuint lengthBytes, int protection, int flags, int file, long offset);

    [LibraryImport("libc", EntryPoint = "mprotect", SetLastError = true)]
    private static partial int Protect(nint address, nuint lengthBytes, int protection);

    [LibraryImport("libc", EntryPoint = "munmap", SetLastError = true)]
    private static partial int Unmap(nint address, nuint lengthBytes);
}
