using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Simulation;

namespace ObjectStore.Storage.Tests.Fragments;

public sealed class MemoryFragmentStoreTests : FragmentStoreContract
{
    protected override Task<IFragmentStore> OpenAsync() => Task.FromResult<IFragmentStore>(new MemoryFragmentStore(Guid.NewGuid(), TimeProvider.System));

    protected override void Damage(IFragmentStore store, FragmentKey key, int offsetBytes) => Assert.True(((MemoryFragmentStore)store).Corrupt(key, offsetBytes));
}
