"""Recipes that make sets: of the emoji catalogue, of scenes, of captions whose pictures are drawn; or refer to one."""
