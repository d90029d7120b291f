using System.Runtime.Versioning;
using Microsoft.Win32.SafeHandles;
using ObjectStore.Storage.Buffers;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Tests.Simulation;

namespace ObjectStore.Storage.Tests.Drives;

[SupportedOSPlatform("linux")]
public sealed unsafe class LinuxVolumeFileTests : IDisposable
{
    private const int FileBytes = 256 << 10;
    private readonly TestFolder _folder = new();
    private readonly byte[] _content = new byte[FileBytes];

    public LinuxVolumeFileTests() => Assert.SkipUnless(OperatingSystem.IsLinux(), "the file is one for Linux");

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData((int)ReadCaching.Bypass)]
    [InlineData((int)ReadCaching.Medium)]
    public void Read_PastTheCache_GivesTheBytes_OfAnyRangeIntoAnyMemory_AlsoThoseNotYetOnTheMedium(int caching)
    {
        using LinuxVolumeFile file = Fill();
        using var memory = new AlignedBuffer(FileBytes + 8192, honoursPins: true);
        foreach (int offset in (int[])[0, 1, 4096, 8192, 65_537, FileBytes - 4096])
        {
            foreach (int first in (int[])[0, 1, 160, 4096])
            {
                foreach (int length in (int[])[0, 1, 4095, 4096, 4097, 65_536, 100_000])
                {
                    foreach (int shift in (int[])[0, 512, 4096])
                    {
                        int there = Math.Min(first + length, FileBytes - offset);
                        Span<byte> head = memory.GetSpan()[..first], rest = memory.GetSpan().Slice(4096 + shift, length);
                        memory.GetSpan().Fill(0xEE);
                        Assert.Equal(there, file.Read(offset, head, rest, (ReadCaching)caching));
                        byte[] read = [.. head, .. rest];
                        Assert.Equal(_content[offset..(offset + there)], read[..there]);
                        Assert.Equal(0xEE, memory.GetSpan()[4096 + shift + length]);
                    }
                }
            }
        }
    }

    [Theory]
    [InlineData((int)ReadCaching.Bypass)]
    [InlineData((int)ReadCaching.Medium)]
    public void Read_OfAFileThatWasCutOffWithinAPage_EndsThere(int how)
    {
        var caching = (ReadCaching)how;
        using LinuxVolumeFile file = Fill();
        file.Truncate(70_001);
        using var memory = new AlignedBuffer(FileBytes);
        Assert.Equal(70_001, file.Read(0, default, memory.GetSpan(), caching));
        Assert.Equal(_content[..70_001], memory.GetSpan()[..70_001].ToArray());
        Assert.Equal(70_001 - 65_536, file.Read(65_536, default, memory.GetSpan()[..8192], caching));
        Assert.Equal(0, file.Read(73_728, default, memory.GetSpan()[..8192], caching));
    }

    [Fact]
    public void Read_PastTheCache_LeavesNothingThere_AndOneThroughItDoes()
    {
        using LinuxVolumeFile file = Fill();
        Assert.SkipUnless(file.DirectIo, "the file system has no direct reads and writes");
        using SafeFileHandle handle = Posix.Open(Path.Combine(_folder.Path, "volume"), Posix.OpenReadOnly);
        using var memory = new AlignedBuffer(FileBytes);
        file.Sync();
        Assert.Equal(0, Posix.Advise(handle, 0, 0, Posix.AdviseDontNeed));
        Assert.False(Posix.IsCached(handle, 0, FileBytes));
        file.Read(0, default, memory.GetSpan(), ReadCaching.Bypass);
        Assert.False(Posix.IsCached(handle, 65_536, 4096));
        file.Read(0, default, memory.GetSpan(), ReadCaching.Fill);
        Assert.SkipUnless(Posix.IsCached(handle, 0, FileBytes), "the kernel does not tell what is cached, or does not keep it");
        Assert.Equal(FileBytes, file.Read(0, default, memory.GetSpan(), ReadCaching.Bypass));
        Assert.Equal(_content, memory.GetSpan().ToArray());
    }

    [Fact]
    public void Read_OfWhatIsPresent_GivesItOrNothing_AndBringsNothingThere()
    {
        using LinuxVolumeFile file = Fill();
        using SafeFileHandle handle = Posix.Open(Path.Combine(_folder.Path, "volume"), Posix.OpenReadOnly);
        using var memory = new AlignedBuffer(FileBytes);
        file.Sync();
        Assert.Equal(0, Posix.Advise(handle, 0, 0, Posix.AdviseDontNeed));
        Assert.Equal(-1, file.Read(0, default, memory.GetSpan(), ReadCaching.IfPresent));
        Assert.False(Posix.IsCached(handle, 0, 4096));
        file.Read(0, default, memory.GetSpan(), ReadCaching.Fill);
        Assert.SkipUnless(Posix.IsCached(handle, 0, FileBytes), "the kernel does not tell what is cached, or does not keep it");
        memory.GetSpan().Clear();
        Assert.Equal(FileBytes, file.Read(0, default, memory.GetSpan(), ReadCaching.IfPresent));
        Assert.Equal(_content, memory.GetSpan().ToArray());
    }

    private LinuxVolumeFile Fill()
    {
        new Random(3).NextBytes(_content);
        LinuxVolumeFile file = LinuxVolumeFile.Create(Path.Combine(_folder.Path, "volume"), FileBytes, directIo: true);
        using var memory = new AlignedBuffer(FileBytes);
        _content.CopyTo(memory.GetSpan());
        file.Write(0, [new VolumeSegment((nint)memory.Address, FileBytes / 2)], throughCache: false);
        file.Write(FileBytes / 2, [new VolumeSegment((nint)memory.Address + (FileBytes / 2), FileBytes / 2)], throughCache: true);
        return file;
    }
}
