using Microsoft.Win32.SafeHandles;

namespace ObjectStore.Storage.Drives;

/// <summary>A volume file opened for reading only: nothing that is called on it can change a byte, whoever owns the file.</summary>
internal sealed class ReadOnlyVolumeFile : IVolumeFile
{
    private readonly SafeFileHandle _file;

    /// <exception cref="IOException">It cannot be opened.</exception>
    /// <exception cref="UnauthorizedAccessException">It may not be read.</exception>
    public ReadOnlyVolumeFile(string path)
    {
        _file = File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
        LengthBytes = RandomAccess.GetLength(_file);
    }

    /// <summary>When it was opened.</summary>
    public long LengthBytes { get; }

    public bool DirectIo => false;

    public void Write(long offset, ReadOnlySpan<VolumeSegment> segments, bool throughCache) => throw new NotSupportedException("The volume is open for reading only.");

    public void Sync() => throw new NotSupportedException("The volume is open for reading only.");

    public void Truncate(long lengthBytes) => throw new NotSupportedException("The volume is open for reading only.");

    public int Read(long offset, Span<byte> first, Span<byte> second, ReadCaching caching) => PortableVolumeFile.Read(_file, offset, first, second);

    public void BeginScan(long offset)
    {
    }

    public void EndScan()
    {
    }

    public long NextData(long offset)
    {
        if (offset >= LengthBytes || !OperatingSystem.IsLinux())
            return Math.Min(offset, LengthBytes);
        long data = Posix.Seek(_file, offset, Posix.SeekData);
        if (data >= 0)
            return Math.Min(data, LengthBytes);
        return System.Runtime.InteropServices.Marshal.GetLastPInvokeError() == Posix.ErrorNoDeviceAddress ? LengthBytes : offset;
    }

    public void Dispose() => _file.Dispose();
}
